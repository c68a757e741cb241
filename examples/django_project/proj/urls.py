"""Two addresses: the visits of a person, and what comes next."""

from django.urls import path
from shop import views

urlpatterns = [
    path("visits/<person>", views.visits),
    path("next/<person>", views.expected),
]
