"""What `rillgate chat` is made of: one answer as it comes, its token count, and the terminal that shows it."""
