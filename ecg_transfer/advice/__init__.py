"""`ecg-transfer advise`: what the finished runs say about a corpus that is to be trained on, in plain words."""
