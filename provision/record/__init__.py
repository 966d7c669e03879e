"""What of a host came from us, written on the host itself: for upgrades, and for taking it away again."""
