"""How both services talk to PostgreSQL where Django's own way takes too long, and what its errors mean."""
