"""What messages look like and how they become readings in columns: JSON, MessagePack, Arrow, CSV, lines of files."""
