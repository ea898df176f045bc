"""Never comes to the first poll."""

import threading

threading.Event().wait()
