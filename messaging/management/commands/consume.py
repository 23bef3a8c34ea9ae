from messaging.conf import config
from messaging.consumer import Consumer
from messaging.process import ProcessCommand
from messaging.stopping import Stop


class Command(ProcessCommand):
    help = "Handles messages and keeps the dead letters. Runs until SIGTERM or SIGINT; any number may run."

    def work(self, stop: Stop) -> None:
        Consumer(config(), stop).run()
