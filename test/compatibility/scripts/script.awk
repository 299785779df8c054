#!/usr/bin/mawk -f
BEGIN { FS = "," }
{ sum += $2 }
END { print sum }
