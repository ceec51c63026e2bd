"""The hub's own broker: mosquitto with a generated configuration, or amqtt where mosquitto is missing."""
