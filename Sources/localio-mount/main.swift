// The program localio-mount: parses arguments, mounts, serves until unmounted.
internal import ArgumentParser
internal import Glibc

signal(SIGPIPE, SIG_IGN)
Program.main()
