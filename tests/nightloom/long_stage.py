"""A stage that says its pid and waits: what signals do to a fork is seen on it."""

import os
import sys
import time

if __name__ == "__main__":
    print(os.getpid(), *sys.argv[1:], os.environ.get("NIGHTLOOM_RUN_ID"), os.getcwd(), flush=True)
    time.sleep(60)
