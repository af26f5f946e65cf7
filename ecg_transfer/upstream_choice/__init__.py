"""Which upstream? Scores of pre-trained models on a downstream corpus, before anything is trained on it."""
