"""Gunicorn's worker without the process that would fork it."""
import os

from gunicorn import glogging, sock
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker

from app import app


class Alone(BaseApplication):
    def load_config(self):
        self.cfg.set("bind", f"127.0.0.1:{os.environ['PORT']}")
        self.cfg.set("threads", int(os.environ["THREADS"]))
        self.cfg.set("worker_tmp_dir", "/tmp")
        self.cfg.set("loglevel", "error")

    def load(self):
        return app


application = Alone()
log = glogging.Logger(application.cfg)
sockets = sock.create_sockets(application.cfg, log)
kind = ThreadWorker if application.cfg.threads > 1 else SyncWorker
kind(1, os.getppid(), sockets, application, 30, application.cfg, log).init_process()
