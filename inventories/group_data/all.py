"""What every environment shares. `make settings` lists every setting, its default and its meaning."""

app_name = "medaction"
