"""The program in the cloud: takes in hard samples, runs the big model, answers, and keeps everything it promised to."""
