"""The table of visits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first one."""

    initial = True
    operations = [  # noqa: RUF012  Django's own form
        migrations.CreateModel(
            name="Visit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("person", models.CharField(max_length=200)),
                ("page", models.CharField(max_length=200)),
                ("greeted", models.BooleanField(default=False)),
                ("position", models.PositiveIntegerField(null=True)),
            ],
        )
    ]
