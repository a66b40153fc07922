"""Back of house: what runs on replicas, and what they run on."""
