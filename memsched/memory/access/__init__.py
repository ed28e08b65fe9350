"""Who may: users, cubes, sharing."""
