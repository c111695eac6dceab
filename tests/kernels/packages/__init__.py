"""Adapters to optional packages: on stand-ins of their interfaces, and on themselves where they are installed."""
