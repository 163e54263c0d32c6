"""What several passes share. A pass imports from here and from `ir`, never from another pass."""
