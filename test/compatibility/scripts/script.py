#!/usr/bin/python3.11 -E
import sys
print(sys.argv[1:], sys.flags.ignore_environment)
sys.exit(7)
