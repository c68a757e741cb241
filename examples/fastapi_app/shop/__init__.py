"""A small web shop that asks KATO what its visitors look at next."""
