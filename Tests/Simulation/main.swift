// localio-simulate: runs seeds of the deterministic simulation; a failing one prints itself.
internal import ArgumentParser
internal import LocalIOSimulation

SimulateCommand.main()
