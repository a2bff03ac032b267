"""From alert changes to notifications, in stages: routes, gathering, silences, mutes, repeats. Time is an argument."""
