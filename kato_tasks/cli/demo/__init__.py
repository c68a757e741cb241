"""The demos: made-up events of a web shop and of a help desk, and what KATO makes of them."""
