#!/usr/bin/env bash
echo "${BASH_VERSION%%.*} $1"
