from messaging.conf import config
from messaging.process import ProcessCommand
from messaging.relay import Relay
from messaging.stopping import Stop


class Command(ProcessCommand):
    help = "Publishes what the outbox holds. Runs until SIGTERM or SIGINT; any number may run."

    def work(self, stop: Stop) -> None:
        Relay(config(), stop).run()
