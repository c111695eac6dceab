"""A CUDA device that is none: tensors that say `cuda:0` and hold real values, so that device errors show on any CPU."""
