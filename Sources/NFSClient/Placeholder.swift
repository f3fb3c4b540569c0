// NFSClient
