"""What each class of node does."""
