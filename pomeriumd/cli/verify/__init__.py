"""``pomeriumd verify``: an application that shows what the proxy tells it, and checks it."""
