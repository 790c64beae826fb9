"""What the operator wrote, checked and frozen, with the place of every fault."""
