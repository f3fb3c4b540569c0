// Tests of the agent.
