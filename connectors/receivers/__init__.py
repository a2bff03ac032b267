"""Where notifications of incidents go: Alertmanager, webhooks, mail, programs, chats."""
