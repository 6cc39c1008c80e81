#!/bin/sh
# the program of the package: for the command line, and as rescue
exec /usr/lib/langlauf/release/langlauf "$@"
