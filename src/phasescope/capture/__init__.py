"""What runs inside the training: sessions, phases, the sampler, the collectors. It writes one ring."""
