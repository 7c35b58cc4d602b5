"""What the network is shown: who trains, what a mask means, the cache of prepared cases, and the samples that are cut from it."""
