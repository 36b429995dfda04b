"""Bad input: each with an error that names what is wrong, its value and what to do; nothing is lost by it."""
