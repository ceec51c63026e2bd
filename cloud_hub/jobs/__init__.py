"""The job kinds, each one pure state machine: `step(state, event) -> (state, effects)`."""
