// Every message survives the wire; every other byte string is refused.
import AgentProtocol
import NFSTypes
import Testing

@Suite struct RoundTripTests {
    @Test(arguments: Samples.messages) func everyMessageSurvives(_ message: AgentMessage) throws {
        let wire = message.encoded()
        #expect(try AgentMessage.decode(Array(wire.dropFirst(4))) == message)
    }
}
