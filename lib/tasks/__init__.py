"""One package per domain; nothing outside this package may name a domain."""
