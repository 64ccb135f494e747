"""Commands that check the configuration and set things up."""
