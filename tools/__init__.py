"""What makes releases of this program. No part of it."""
