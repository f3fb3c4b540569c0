// The program localiod: parses arguments, runs a server until a signal, prints one clear line
// for what goes wrong.
internal import ArgumentParser
internal import Glibc

// A write past RLIMIT_FSIZE must be an error of that write and not the end of the server.
signal(SIGXFSZ, SIG_IGN)
signal(SIGPIPE, SIG_IGN)
Localiod.main()
