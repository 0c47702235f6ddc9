"""Values that the layers hand to each other: frozen, standard library only, no I/O."""
