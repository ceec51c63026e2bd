"""What people say that samples are: files in and out, and the table in the hub's database."""
