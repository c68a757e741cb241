"""How a replay reads a lane's history, copies it into a shadow lane, and verifies what KATO holds then."""
