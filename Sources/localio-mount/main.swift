// The program localio-mount: parses arguments, mounts, serves until unmounted.
internal import ArgumentParser
internal import LocalIOFUSE

MountCommand.main()
