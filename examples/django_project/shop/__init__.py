"""The shop: visits of pages, its own tasks beside those of kato_tasks."""
