// Lets programs say `import LocalIO` alone: URLs, handles, policies and buffers are part of its
// interface.
@_exported public import DirectIO
@_exported public import NFSClient
@_exported public import NFSTypes
@_exported public import PageCache
