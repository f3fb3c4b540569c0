// LocalIOServer
