"""The suite of the device runs on a GPU, or in numba's simulator where the environment says so."""
import os
import sys

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    sys.setswitchinterval(1e-5)        # its threads wait for each other in a busy loop
