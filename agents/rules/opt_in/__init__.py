"""Rules of the retired service. They are often wrong about healthy agents, so each is off until it is switched on."""
