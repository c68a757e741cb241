"""The store on Redis: keys, one Lua file per operation, and the typed calls."""
