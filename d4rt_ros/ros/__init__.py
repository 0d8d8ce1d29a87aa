"""The ROS 2 side: nodes, messages, parameters, services, TF and diagnostics. Nothing else imports ROS."""
